"""Tasks about lists, dictionaries and sets."""

from typing import Final

from mira_stream.demo.episodes.task import Task, task

COLLECTIONS: Final[tuple[Task, ...]] = (
    task(
        """
def chunk(items, size):
    if size < 1:
        raise ValueError('size must be positive')
    pieces = []
    for start in range(0, len(items), size):
        pieces.append(items[start:start + size])
    return pieces
""",
        "It cuts a list into pieces of equal size; the last may be shorter.",
        """
chunk([1, 2, 3, 4, 5], 2)
chunk([], 3)
chunk([1, 2], 5)
chunk([1], 0)
""",
        """
chunk([1, 2, 3, 4], 2)
chunk([9], 1)
chunk([1, 2, 3], 3)
""",
    ),
    task(
        """
def flatten(items, depth=9):
    result = []
    for item in items:
        if isinstance(item, list) and depth > 0:
            result.extend(flatten(item, depth - 1))
        else:
            result.append(item)
    return result
""",
        "It takes nested lists apart, down to a depth.",
        """
flatten([1, [2, [3]]])
flatten([])
flatten([[1], [2]], 1)
flatten([1, [2, [3]]], 1)
""",
        """
flatten([[[]]])
flatten([1, [2]], 0)
flatten([[[4]], 5])
flatten([1, [2, [3, [4]]]], 2)
flatten([[1, [2]]], 1)
flatten([[[7]]], 2)
""",
    ),
    task(
        """
def unique(items):
    seen = set()
    result = []
    for item in items:
        if item not in seen:
            seen.add(item)
            result.append(item)
    return result
""",
        "It drops repeated items and keeps the order.",
        """
unique([3, 1, 3, 2, 1])
unique([])
unique(['a', 'a'])
unique([1, 2])
""",
        """
unique([0, 0, 1])
unique('banana')
unique([2, 2, 2, 1])
""",
    ),
    task(
        """
def rotate(items, steps=1):
    if not items:
        return []
    steps = steps % len(items)
    return items[-steps:] + items[:-steps] if steps else items[:]
""",
        "It moves items to the right; those that fall out come in at the front.",
        """
rotate([1, 2, 3])
rotate([1, 2, 3], 2)
rotate([], 4)
rotate([1, 2, 3], 0)
""",
        """
rotate([1, 2, 3], 4)
rotate([1, 2], -1)
rotate([5], 3)
rotate([4, 5, 6, 7])
rotate([1, 2, 3, 4], 3)
rotate([8, 9], 2)
""",
    ),
    task(
        """
def group_by_length(words):
    groups = {}
    for word in words:
        key = len(word)
        if key not in groups:
            groups[key] = []
        groups[key].append(word)
    return groups
""",
        "It puts words of equal length together.",
        """
group_by_length(['a', 'bb', 'c'])
group_by_length([])
group_by_length(['xx', 'yy'])
group_by_length(['one', ''])
""",
        """
group_by_length(['a'])
group_by_length(['aa', 'b', 'cc', 'd'])
group_by_length(['', ''])
""",
    ),
    task(
        """
def merge_counts(left, right):
    result = dict(left)
    for key, count in right.items():
        result[key] = result.get(key, 0) + count
        if result[key] == 0:
            del result[key]
    return result
""",
        "It adds two tables of counts and leaves out zeros.",
        """
merge_counts({'a': 1}, {'a': 2, 'b': 3})
merge_counts({}, {'x': 1})
merge_counts({'a': 1}, {'a': -1})
merge_counts({'k': 5}, {})
""",
        """
merge_counts({}, {})
merge_counts({'a': 2}, {'a': -1})
merge_counts({'a': 1}, {'b': 0})
merge_counts({'a': 3, 'b': 1}, {'b': -1})
""",
    ),
    task(
        """
def invert(table):
    result = {}
    for key, value in table.items():
        result.setdefault(value, []).append(key)
    return {value: sorted(keys) for value, keys in result.items()}
""",
        "It turns a table round: each value gets the sorted list of its keys.",
        """
invert({'a': 1, 'b': 2})
invert({'b': 1, 'a': 1})
invert({})
invert({1: 'x', 2: 'y', 3: 'x'})
""",
        """
invert({'z': 0})
invert({3: 3, 1: 3, 2: 3})
invert({'k': ()})
""",
    ),
    task(
        """
def top_items(counts, size=2):
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [name for name, count in ordered[:size] if count > 0]
""",
        "It names the items with the highest counts; equal counts go by name.",
        """
top_items({'a': 1, 'b': 3, 'c': 2})
top_items({'b': 1, 'a': 1})
top_items({})
top_items({'x': 0, 'y': 2})
""",
        """
top_items({'a': 5}, 1)
top_items({'c': 1, 'b': 1, 'a': 1}, 3)
top_items({'a': -1, 'b': 1})
top_items({'p': 4, 'q': 3, 'r': 2, 's': 1})
top_items({'m': 0, 'n': 1})
top_items({'k': 1, 'l': 0})
""",
    ),
    task(
        """
def merge_ranges(ranges):
    merged = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            last = merged.pop()
            merged.append((last[0], max(last[1], end)))
        else:
            merged.append((start, end))
    return merged
""",
        "It joins ranges that touch or overlap.",
        """
merge_ranges([(1, 3), (2, 5)])
merge_ranges([(4, 6), (1, 2)])
merge_ranges([])
merge_ranges([(1, 2), (2, 3)])
""",
        """
merge_ranges([(1, 9), (2, 3)])
merge_ranges([(0, 1)])
merge_ranges([(5, 6), (1, 2), (2, 5)])
merge_ranges([(7, 9), (1, 3)])
merge_ranges([(2, 4), (3, 8), (9, 9)])
""",
    ),
    task(
        """
def transpose(rows):
    if not rows:
        return []
    width = min((len(row) for row in rows))
    return [[row[index] for row in rows] for index in range(width)]
""",
        "It swaps rows and columns and cuts long rows.",
        """
transpose([[1, 2], [3, 4]])
transpose([])
transpose([[1, 2, 3]])
transpose([[1, 2], [3]])
""",
        """
transpose([[1], [2]])
transpose([[], [1]])
transpose([[1, 2, 3], [4, 5, 6]])
""",
    ),
    task(
        """
def pick(table, keys, default=None):
    result = {}
    for key in keys:
        if key in table:
            result[key] = table[key]
        elif default is not None:
            result[key] = default
    return result
""",
        "It takes some keys of a table, with a default for missing ones.",
        """
pick({'a': 1, 'b': 2}, ['a'])
pick({'a': 1}, ['x'])
pick({'a': 1}, ['a', 'x'], 0)
pick({}, [])
""",
        """
pick({'a': None}, ['a'], 1)
pick({'a': 1, 'b': 2}, ['b', 'a'])
pick({}, ['q'], 'd')
pick({'a': 1}, ['b', 'c'], 7)
pick({'z': 2}, ['z', 'y'], 3)
""",
    ),
    task(
        """
def partition(items, pivot):
    low, equal, high = ([], [], [])
    for item in items:
        if item < pivot:
            low.append(item)
        elif item == pivot:
            equal.append(item)
        else:
            high.append(item)
    return low + equal + high
""",
        "It puts smaller items before the pivot and larger ones after it.",
        """
partition([3, 1, 2], 2)
partition([], 1)
partition([5, 5, 1], 5)
partition([1, 2, 3], 0)
""",
        """
partition([9, 1, 9], 9)
partition([4, 3, 2, 1], 3)
partition([2], 2)
""",
    ),
    task(
        """
def running_max(values):
    result = []
    best = None
    for value in values:
        if best is None or value > best:
            best = value
        result.append(best)
    return result
""",
        "It gives the largest value so far at each place.",
        """
running_max([1, 3, 2])
running_max([])
running_max([5, 4, 3])
running_max([-2, -1])
""",
        """
running_max([0, 0])
running_max([2, 9, 9, 10])
running_max([-5])
""",
    ),
    task(
        """
def pairs_with_sum(values, target):
    seen = set()
    pairs = []
    for value in values:
        other = target - value
        if other in seen:
            pairs.append((other, value))
        seen.add(value)
    return pairs
""",
        "It lists pairs of values that add up to a target.",
        """
pairs_with_sum([1, 2, 3, 4], 5)
pairs_with_sum([], 3)
pairs_with_sum([2, 2], 4)
pairs_with_sum([5, 1], 9)
""",
        """
pairs_with_sum([0, 0, 0], 0)
pairs_with_sum([3, -3], 0)
pairs_with_sum([4], 8)
""",
    ),
)
