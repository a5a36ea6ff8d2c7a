"""What requests may take and cost: tokens, prices, the cap, the forecast."""
