"""What runs are and cost, in values: report, summary, status.  `renderers` give them a form."""
