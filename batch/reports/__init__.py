"""What runs are, cost and say, in values: `report` for any number of runs, `compared` for two of them or
the truth, `status` for one at work, `summary` for one that has just ended.

Takes no lock and changes nothing.  Called by `runner`, `runs` and `cli`; `renderers` give a report or a
comparison a form.
"""
