"""Tasks about text."""

from typing import Final

from mira_stream.demo.episodes.task import Task, task

TEXT: Final[tuple[Task, ...]] = (
    task(
        """
def slugify(title, limit=24):
    words = []
    word = ''
    for char in title.lower():
        if char.isalnum():
            word += char
        elif word:
            words.append(word)
            word = ''
    if word:
        words.append(word)
    return '-'.join(words)[:limit].strip('-')
""",
        "It turns a title into a lower case slug with single dashes.",
        """
slugify('Hello World')
slugify('  A  b -- C ')
slugify('x')
slugify('one two three four five six')
""",
        """
slugify('')
slugify('--')
slugify('Ends here!')
slugify('abc def', 4)
slugify('two ends')
slugify('A one two three four five')
slugify('Go, team')
""",
    ),
    task(
        """
def wrap_words(text, width):
    lines = []
    line = ''
    for word in text.split():
        if not line:
            line = word
        elif len(line) + 1 + len(word) <= width:
            line += ' ' + word
        else:
            lines.append(line)
            line = word
    if line:
        lines.append(line)
    return lines
""",
        "It breaks text into lines of at most `width` characters.",
        """
wrap_words('a bb ccc dddd', 5)
wrap_words('one two', 7)
wrap_words('', 10)
wrap_words('longword x', 4)
""",
        """
wrap_words('ab cd ef', 5)
wrap_words('  spaced   out ', 20)
wrap_words('a b c', 1)
""",
    ),
    task(
        """
def is_palindrome(text):
    letters = [char for char in text.lower() if char.isalnum()]
    left = 0
    right = len(letters) - 1
    while left < right:
        if letters[left] != letters[right]:
            return False
        left += 1
        right -= 1
    return True
""",
        "It says whether a text reads the same from both ends, ignoring case and punctuation.",
        """
is_palindrome('Level')
is_palindrome('Never odd or even')
is_palindrome('abca')
is_palindrome('ab')
""",
        """
is_palindrome('')
is_palindrome('abcda')
is_palindrome('No, on!')
""",
    ),
    task(
        """
def count_vowels(text, vowels='aeiou'):
    total = 0
    for char in text.lower():
        if char in vowels:
            total += 1
    return total
""",
        "It counts the vowels of a text.",
        """
count_vowels('Banana')
count_vowels('xyz')
count_vowels('AEIOU')
count_vowels('queue')
""",
        """
count_vowels('')
count_vowels('rhythm', 'y')
count_vowels('A quick one')
""",
    ),
    task(
        """
def caesar(text, shift):
    result = ''
    for char in text:
        if 'a' <= char <= 'z':
            result += chr((ord(char) - 97 + shift) % 26 + 97)
        else:
            result += char
    return result
""",
        "It shifts lower case letters along the alphabet and leaves the rest alone.",
        """
caesar('abc', 1)
caesar('xyz', 3)
caesar('a-b', 2)
caesar('bcd', -1)
""",
        """
caesar('', 5)
caesar('za', 26)
caesar('Hello', 1)
""",
    ),
    task(
        """
def run_lengths(text):
    runs = []
    for char in text:
        if runs and runs[-1][0] == char:
            runs[-1] = (char, runs[-1][1] + 1)
        else:
            runs.append((char, 1))
    return runs
""",
        "It lists each run of equal characters with its length.",
        """
run_lengths('aab')
run_lengths('')
run_lengths('abc')
run_lengths('zzzz')
""",
        """
run_lengths('abba')
run_lengths('aaabbc')
run_lengths('  x')
""",
    ),
    task(
        """
def title_case(text, small=('of', 'the', 'a')):
    words = text.lower().split()
    result = []
    for index, word in enumerate(words):
        if index == 0 or word not in small:
            word = word[0].upper() + word[1:]
        result.append(word)
    return ' '.join(result)
""",
        "It writes a title with capitals, except for small words after the first.",
        """
title_case('the lord of the rings')
title_case('A TALE')
title_case('one')
title_case('of mice')
""",
        """
title_case('')
title_case('war and a peace')
title_case('x of y', ())
title_case('a dog of the sea')
title_case('end of a day')
title_case('sun')
""",
    ),
    task(
        """
def common_prefix(words):
    if not words:
        return ''
    prefix = words[0]
    for word in words[1:]:
        while not word.startswith(prefix):
            prefix = prefix[:-1]
    return prefix
""",
        "It finds the longest prefix that all words share.",
        """
common_prefix(['flower', 'flow', 'flight'])
common_prefix(['dog', 'cat'])
common_prefix([])
common_prefix(['same', 'same'])
""",
        """
common_prefix(['one'])
common_prefix(['ab', 'abc', 'abd'])
common_prefix(['', 'x'])
common_prefix(['inner', 'into', 'in'])
common_prefix(['car', 'bus'])
common_prefix(['tea', 'ten', 'toe'])
""",
    ),
    task(
        """
def snake_case(name):
    result = ''
    for index, char in enumerate(name):
        if char.isupper() and index > 0 and (name[index - 1] != '_'):
            result += '_'
        result += char.lower()
    return result
""",
        "It turns a camel case name into snake case.",
        """
snake_case('camelCase')
snake_case('Simple')
snake_case('already_snake')
snake_case('aBC')
""",
        """
snake_case('')
snake_case('with_Capital')
snake_case('HttpServer')
snake_case('X1Y')
snake_case('Upper')
snake_case('a_B')
""",
    ),
    task(
        """
def dedent_block(text):
    lines = text.split('/')
    margins = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    margin = min(margins, default=0)
    return '/'.join((line[margin:] for line in lines))
""",
        "It removes the indentation that all lines share; lines are joined by slashes.",
        """
dedent_block('  a/  b')
dedent_block('  a/    b')
dedent_block('a/  b')
dedent_block('   x')
""",
        """
dedent_block('')
dedent_block('  a//  b')
dedent_block(' a/b')
""",
    ),
    task(
        """
def shorten(text, width, mark='...'):
    if len(text) <= width:
        return text
    room = width - len(mark)
    if room <= 0:
        return text[:width]
    cut = text[:room]
    if ' ' in cut and text[room] != ' ':
        cut = cut[:cut.rindex(' ')]
    return cut.rstrip() + mark
""",
        "It cuts a text at a word and puts a mark at its end.",
        """
shorten('hello big world', 11)
shorten('short', 10)
shorten('abcdefghij', 6)
shorten('ab cd ef gh', 8)
""",
        """
shorten('abcdef', 3)
shorten('exact', 5)
shorten('one two', 6, '!')
shorten('hi there you', 9)
shorten('alpha beta gamma', 12)
shorten('abc defghi', 8)
""",
    ),
    task(
        """
def edit_distance(left, right):
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        previous = row[0]
        row[0] = i
        for j, b in enumerate(right, 1):
            cost = previous if a == b else 1 + min(previous, row[j], row[j - 1])
            previous = row[j]
            row[j] = cost
    return row[-1]
""",
        "It counts the edits that turn one word into the other.",
        """
edit_distance('kitten', 'sitting')
edit_distance('', 'abc')
edit_distance('same', 'same')
edit_distance('ab', 'ba')
""",
        """
edit_distance('abc', '')
edit_distance('flaw', 'lawn')
edit_distance('x', 'y')
""",
    ),
)
