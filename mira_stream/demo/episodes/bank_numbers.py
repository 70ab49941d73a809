"""Tasks about numbers and dates."""

from typing import Final

from mira_stream.demo.episodes.task import Task, task

NUMBERS: Final[tuple[Task, ...]] = (
    task(
        """
def clamp(value, low=0, high=100):
    if low > high:
        raise ValueError('low is above high')
    if value < low:
        return low
    if value > high:
        return high
    return value
""",
        "It keeps a value between two limits.",
        """
clamp(5)
clamp(-3)
clamp(140)
clamp(7, 10, 20)
clamp(1, 3, 2)
""",
        """
clamp(100)
clamp(20, 10, 20)
clamp(0.5, 0, 1)
clamp(4, 4, 4)
clamp(-50)
clamp(999)
clamp(3, 10, 20)
clamp(30, 10, 20)
clamp(1, 9, 2)
clamp(0)
""",
    ),
    task(
        """
def digits_sum(number, base=10):
    total = 0
    number = abs(number)
    while number > 0:
        total += number % base
        number //= base
    return total
""",
        "It adds up the digits of a number in a base.",
        """
digits_sum(123)
digits_sum(-45)
digits_sum(0)
digits_sum(7, 2)
""",
        """
digits_sum(1000)
digits_sum(255, 16)
digits_sum(9)
digits_sum(-9)
digits_sum(-308)
""",
    ),
    task(
        """
def to_roman(number):
    marks = [(10, 'X'), (9, 'IX'), (5, 'V'), (4, 'IV'), (1, 'I')]
    result = ''
    for value, mark in marks:
        while number >= value:
            result += mark
            number -= value
    return result
""",
        "It writes a small number in Roman numerals.",
        """
to_roman(4)
to_roman(9)
to_roman(17)
to_roman(0)
""",
        """
to_roman(1)
to_roman(10)
to_roman(34)
to_roman(14)
to_roman(29)
to_roman(6)
""",
    ),
    task(
        """
def primes_below(limit):
    primes = []
    for number in range(2, limit):
        for prime in primes:
            if prime * prime > number:
                primes.append(number)
                break
            if number % prime == 0:
                break
        else:
            primes.append(number)
    return primes
""",
        "It lists all primes below a limit.",
        """
primes_below(10)
primes_below(2)
primes_below(20)
primes_below(3)
""",
        """
primes_below(0)
primes_below(30)
primes_below(26)
""",
    ),
    task(
        """
def moving_mean(values, size=3):
    means = []
    for end in range(size, len(values) + 1):
        window = values[end - size:end]
        means.append(sum(window) / size)
    return means
""",
        "It gives the mean of each window of neighbours.",
        """
moving_mean([1, 2, 3, 4])
moving_mean([2, 4], 2)
moving_mean([1])
moving_mean([3, 3, 3], 1)
""",
        """
moving_mean([])
moving_mean([1, 5, 9, 1], 4)
moving_mean([0, 2, 0, 2], 2)
moving_mean([3, 6, 9, 3, 3])
moving_mean([1, 2, 6])
""",
    ),
    task(
        """
def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    if not ordered:
        raise ValueError('no values')
    if len(ordered) % 2 == 1:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2
""",
        "It gives the middle value, or the mean of the two middle ones.",
        """
median([3, 1, 2])
median([4, 1, 3, 2])
median([7])
median([])
""",
        """
median([1, 9])
median([5, 5, 1, 1, 3])
median([2, 2, 8, 8])
median([8, 1, 4, 9])
median([1, 2, 3, 10])
""",
    ),
    task(
        """
def is_leap_year(year):
    if year % 400 == 0:
        return True
    if year % 100 == 0:
        return False
    return year % 4 == 0
""",
        "It says whether a year has 366 days.",
        """
is_leap_year(2000)
is_leap_year(1900)
is_leap_year(2024)
is_leap_year(2023)
""",
        """
is_leap_year(2100)
is_leap_year(1996)
is_leap_year(1)
is_leap_year(1600)
is_leap_year(2400)
is_leap_year(2200)
is_leap_year(2028)
""",
    ),
    task(
        """
def days_in_month(year, month):
    if month == 2:
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return 29 if leap else 28
    if month in (4, 6, 9, 11):
        return 30
    return 31
""",
        "It gives the number of days of a month.",
        """
days_in_month(2023, 2)
days_in_month(2024, 2)
days_in_month(2024, 4)
days_in_month(1900, 2)
""",
        """
days_in_month(2000, 2)
days_in_month(2023, 12)
days_in_month(2023, 11)
days_in_month(2028, 2)
days_in_month(2022, 2)
days_in_month(2100, 2)
days_in_month(2024, 6)
""",
    ),
    task(
        """
def format_duration(seconds):
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    if hours > 0:
        return f'{hours}h{minutes:02d}m'
    if minutes > 0:
        return f'{minutes}m{seconds:02d}s'
    return f'{seconds}s'
""",
        "It writes a duration in hours and minutes, minutes and seconds, or seconds.",
        """
format_duration(59)
format_duration(61)
format_duration(3600)
format_duration(7325)
""",
        """
format_duration(0)
format_duration(60)
format_duration(3599)
format_duration(7200)
format_duration(45)
format_duration(150)
format_duration(3725)
format_duration(86399)
""",
    ),
    task(
        """
def collatz_steps(number, limit=100):
    steps = 0
    while number != 1 and steps < limit:
        if number % 2 == 0:
            number //= 2
        else:
            number = 3 * number + 1
        steps += 1
    return steps
""",
        "It counts the steps until a number reaches one.",
        """
collatz_steps(1)
collatz_steps(6)
collatz_steps(8)
collatz_steps(7, 5)
""",
        """
collatz_steps(2)
collatz_steps(3)
collatz_steps(27, 10)
""",
    ),
    task(
        """
def binary_search(values, target):
    low = 0
    high = len(values) - 1
    while low <= high:
        middle = (low + high) // 2
        if values[middle] == target:
            return middle
        if values[middle] < target:
            low = middle + 1
        else:
            high = middle - 1
    return -1
""",
        "It gives the place of a value in a sorted list, or -1.",
        """
binary_search([1, 3, 5, 7], 5)
binary_search([1, 3, 5, 7], 4)
binary_search([], 1)
binary_search([2], 2)
""",
        """
binary_search([1, 3, 5, 7], 1)
binary_search([1, 3, 5, 7], 7)
binary_search([1, 3], 9)
""",
    ),
    task(
        """
def add_months(year, month, count):
    index = year * 12 + (month - 1) + count
    return (index // 12, index % 12 + 1)
""",
        "It moves a year and a month by a count of months.",
        """
add_months(2023, 11, 3)
add_months(2023, 1, -1)
add_months(2020, 6, 0)
add_months(2020, 12, 12)
""",
        """
add_months(1999, 12, 1)
add_months(2024, 3, -15)
add_months(2000, 1, 25)
""",
    ),
    task(
        """
def gcd_all(numbers):
    result = 0
    for number in numbers:
        a, b = (result, abs(number))
        while b:
            a, b = (b, a % b)
        result = a
    return result
""",
        "It gives the greatest common divisor of all numbers.",
        """
gcd_all([12, 18])
gcd_all([7, 5])
gcd_all([])
gcd_all([-4, 6, 10])
""",
        """
gcd_all([0, 9])
gcd_all([21])
gcd_all([100, 75, 50])
gcd_all([-6, -9])
gcd_all([8, -12])
gcd_all([10, 4, 6])
""",
    ),
)
