"""How fast requests may leave, and whether the endpoint is there.

`limits` holds what a job sets.  `limiter` is what `engine` asks and tells; it puts the others
together.  `rates` keeps to requests and tokens per minute (`token_bucket`, `adaptive_rate`),
`token_reservations` sets tokens aside, `concurrency` finds out how many may be in flight, `refusals`
(`refusal_window`) knows whether a refusal tells of a limit or of a replica, `circuit_breaker` knows
whether the endpoint is there, and at the `gate` requests leave one at a time.

Where several workers ask one endpoint, `shares` (rates) and `shared_concurrency` (requests in flight)
lend each its share of one limit, a few times a second; `division` gives shares that stay.

Pure but for the waiting itself: time comes in as a clock.  Knows no store and no transport.
"""
