"""Several processes work at one run, and one shares out among them what is the run's: its parts, and its
limits.

Nobody asks for a request.  A worker beats four times a second: it tells what it used, and hears what it
may use for the next seconds, and which parts are its own now.  What is lent expires, so that a worker
which is dead, frozen or cut off takes nothing from the others for long.

`coordinator` shares out (pure), `beating` is what a worker does for it, `worker` one process that
asks rows, `driver` begins and ends all of them, `messages` what they say to each other.  Only
`on_ray` knows Ray.  Nothing that is said holds a key.
"""
