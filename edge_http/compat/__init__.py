"""APIs of other products, as far as they mean the same: each translates to the calls of the contracts and adds none."""
