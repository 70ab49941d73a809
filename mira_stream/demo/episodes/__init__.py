"""Repair episodes, really executed: a fault in a small function, tests that fail, an agent that reads, edits and runs.

task       a function with visible and hidden calls          bank_*     the functions
mutate     puts one fault into a function                    sandbox    runs calls with a limit on steps
workspace  the files of an episode and the tools over them   agent      the script: what is done next, and how well
wording    what the agent and the user say
"""
