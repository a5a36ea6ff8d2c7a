"""What runs are and cost, in values: `report` for any number of runs, `status` for one at work,
`summary` for one that has just ended.

Takes no lock and changes nothing.  Called by `runner`, `runs` and `cli`; `renderers` give a report a
form.
"""
