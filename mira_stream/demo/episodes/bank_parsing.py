"""Tasks about parsing, graphs and grids."""

from typing import Final

from mira_stream.demo.episodes.task import Task, task

PARSING: Final[tuple[Task, ...]] = (
    task(
        """
def parse_query(query):
    result = {}
    for piece in query.lstrip('?').split('&'):
        if not piece:
            continue
        key, mark, value = piece.partition('=')
        result[key] = value if mark else True
    return result
""",
        "It reads a URL query into a table; a bare key counts as true.",
        """
parse_query('a=1&b=2')
parse_query('?x=y')
parse_query('')
parse_query('flag&k=v')
""",
        """
parse_query('a=')
parse_query('a=1&&b=2')
parse_query('a=b=c')
parse_query('?k=v&w=1')
parse_query('only')
parse_query('?p')
""",
    ),
    task(
        """
def parse_size(text):
    units = {'b': 1, 'k': 1024, 'm': 1048576}
    text = text.strip().lower()
    unit = text[-1:]
    if unit in units:
        text = text[:-1]
    else:
        unit = 'b'
    return int(float(text) * units[unit])
""",
        "It reads a size such as 4k or 1.5m as a number of bytes.",
        """
parse_size('10')
parse_size('4k')
parse_size(' 1.5M ')
parse_size('7b')
""",
        """
parse_size('0k')
parse_size('0.5K')
parse_size('12 ')
parse_size('3b')
parse_size('25')
parse_size(' 2m')
parse_size('2M')
""",
    ),
    task(
        """
def split_fields(line, comma=','):
    fields = ['']
    quoted = False
    for char in line:
        if char == "'":
            quoted = not quoted
        elif char == comma and (not quoted):
            fields.append('')
        else:
            fields[-1] += char
    return fields
""",
        "It splits a line at commas that are not inside quotes.",
        """
split_fields('a,b')
split_fields("x,'y,z'")
split_fields('')
split_fields('a;b', ';')
""",
        """
split_fields(',')
split_fields("'a'b,c")
split_fields("'p,q,r'")
""",
    ),
    task(
        """
def balanced(text):
    closing = {')': '(', ']': '['}
    stack = []
    for char in text:
        if char in '([':
            stack.append(char)
        elif char in closing:
            if not stack or stack.pop() != closing[char]:
                return False
    return not stack
""",
        "It says whether round and square brackets match.",
        """
balanced('(a[b])')
balanced('(]')
balanced('((')
balanced('')
""",
        """
balanced(')(')
balanced('[()]()')
balanced('([)]')
""",
    ),
    task(
        """
def evaluate(tokens):
    stack = []
    for token in tokens.split():
        if token in ('+', '-', '*'):
            right = stack.pop()
            left = stack.pop()
            if token == '+':
                stack.append(left + right)
            elif token == '-':
                stack.append(left - right)
            else:
                stack.append(left * right)
        else:
            stack.append(int(token))
    return stack[0]
""",
        "It computes an expression in postfix form.",
        """
evaluate('2 3 +')
evaluate('5 1 -')
evaluate('2 3 4 * +')
evaluate('9')
""",
        """
evaluate('1 2 3 - -')
evaluate('2 2 *')
evaluate('10 2 8 * + 3 -')
""",
    ),
    task(
        """
def parse_time(text):
    clock, mark, half = text.strip().lower().partition(' ')
    hours, minutes = (int(part) for part in clock.split(':'))
    if half == 'pm' and hours != 12:
        hours += 12
    if half == 'am' and hours == 12:
        hours = 0
    return hours * 60 + minutes
""",
        "It reads a time of day as minutes since midnight.",
        """
parse_time('9:30')
parse_time('12:05 am')
parse_time('3:00 PM')
parse_time('12:00 pm')
""",
        """
parse_time('0:00')
parse_time('11:59 pm')
parse_time(' 7:15 am ')
parse_time('12:30 am')
parse_time('1:15 PM')
parse_time('12:45 pm')
parse_time('4:20 AM')
""",
    ),
    task(
        """
def compare_versions(left, right):
    a = [int(part) for part in left.split('.')]
    b = [int(part) for part in right.split('.')]
    size = max(len(a), len(b))
    a += [0] * (size - len(a))
    b += [0] * (size - len(b))
    return (a > b) - (a < b)
""",
        "It gives -1, 0 or 1 as one version is older, equal or newer.",
        """
compare_versions('1.2', '1.10')
compare_versions('2.0', '2')
compare_versions('3.1', '3.0.9')
compare_versions('1', '1')
""",
        """
compare_versions('0.9', '1')
compare_versions('1.0.0', '1')
compare_versions('10', '9.9.9')
""",
    ),
    task(
        """
def expand_ranges(text):
    numbers = []
    for piece in text.split(','):
        piece = piece.strip()
        if '-' in piece:
            start, end = piece.split('-')
            numbers.extend(range(int(start), int(end) + 1))
        elif piece:
            numbers.append(int(piece))
    return sorted(set(numbers))
""",
        "It reads page ranges such as 1-3,7 as a sorted list.",
        """
expand_ranges('1-3,7')
expand_ranges('')
expand_ranges('5, 2-2')
expand_ranges('3,1-4')
""",
        """
expand_ranges('9')
expand_ranges('1-1,1')
expand_ranges('4-6, 5-8')
""",
    ),
    task(
        """
def reachable(graph, start):
    seen = {start}
    queue = [start]
    while queue:
        node = queue.pop(0)
        for other in graph.get(node, ()):
            if other not in seen:
                seen.add(other)
                queue.append(other)
    return sorted(seen)
""",
        "It lists the nodes that can be reached from a start.",
        """
reachable({'a': 'b', 'b': 'c'}, 'a')
reachable({}, 'x')
reachable({'a': 'b', 'c': 'a'}, 'a')
reachable({'a': 'bc', 'b': 'd'}, 'a')
""",
        """
reachable({'a': 'a'}, 'a')
reachable({'a': 'b', 'b': 'a'}, 'b')
reachable({'p': 'q', 'q': 'rs'}, 'q')
reachable({'s': 'tu', 't': 'v', 'v': 'w'}, 's')
""",
    ),
    task(
        """
def path_length(graph, start, goal):
    level = [start]
    seen = {start}
    steps = 0
    while level:
        if goal in level:
            return steps
        level = [n for node in level for n in graph.get(node, ()) if n not in seen]
        seen.update(level)
        steps += 1
    return -1
""",
        "It counts the steps of the shortest path, or gives -1.",
        """
path_length({'a': 'b', 'b': 'c'}, 'a', 'c')
path_length({'a': 'b'}, 'b', 'a')
path_length({}, 'x', 'x')
path_length({'a': 'bc', 'b': 'd', 'c': 'd'}, 'a', 'd')
""",
        """
path_length({'a': 'a'}, 'a', 'b')
path_length({'a': 'b', 'b': 'a'}, 'a', 'b')
path_length({'a': 'bd', 'b': 'c', 'c': 'd'}, 'a', 'd')
""",
    ),
    task(
        """
def topological(needs):
    order = []
    waiting = dict(needs)
    while waiting:
        ready = sorted((n for n, before in waiting.items() if all((b in order for b in before))))
        if not ready:
            raise ValueError('cycle')
        for name in ready:
            order.append(name)
            del waiting[name]
    return order
""",
        "It orders names so that each comes after what it needs.",
        """
topological({'a': [], 'b': ['a']})
topological({'b': [], 'a': ['b']})
topological({})
topological({'a': ['b'], 'b': ['a']})
""",
        """
topological({'c': ['a', 'b'], 'a': [], 'b': []})
topological({'x': ['x']})
topological({'q': ['p'], 'p': ['o'], 'o': []})
""",
    ),
    task(
        """
def count_islands(grid):
    land = {(r, c) for r, row in enumerate(grid) for c, mark in enumerate(row) if mark == '#'}
    islands = 0
    while land:
        stack = [land.pop()]
        islands += 1
        while stack:
            r, c = stack.pop()
            for near in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
                if near in land:
                    land.remove(near)
                    stack.append(near)
    return islands
""",
        "It counts connected pieces of land in a grid.",
        """
count_islands(['#.', '.#'])
count_islands(['##', '.#'])
count_islands([])
count_islands(['#.#'])
""",
        """
count_islands(['...'])
count_islands(['#', '#', '.', '#'])
count_islands(['###', '#.#', '###'])
""",
    ),
    task(
        """
def spiral(rows):
    result = []
    rows = [list(row) for row in rows]
    while rows:
        result += rows.pop(0)
        rows = [list(column) for column in zip(*rows)][::-1]
    return result
""",
        "It reads a grid from outside to inside, clockwise.",
        """
spiral([[1, 2], [4, 3]])
spiral([])
spiral([[1, 2, 3]])
spiral([[1], [2]])
""",
        """
spiral([[1, 2, 3], [8, 9, 4], [7, 6, 5]])
spiral([[7]])
spiral([[1, 2, 3], [6, 5, 4]])
""",
    ),
    task(
        """
def strip_comments(lines, mark='#'):
    result = []
    for line in lines:
        code, found, comment = line.partition(mark)
        code = code.rstrip()
        if code:
            result.append(code)
    return result
""",
        "It drops comments and the lines that become empty.",
        """
strip_comments(['a = 1 # one', 'b'])
strip_comments(['# only'])
strip_comments([])
strip_comments(['x // y'], '//')
""",
        """
strip_comments(['', '  '])
strip_comments(['  indented  # c'])
strip_comments(['#', 'a#b#c'])
strip_comments(['k = 2 # two', '# gone', 'z  '])
""",
    ),
)
