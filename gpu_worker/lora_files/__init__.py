"""Files of LoRAs as people publish them: what kinds of change they hold, and which layers of a model they are for.

Knows shapes and names only, and no torch, so that an operator's push can read a file as a worker will. Computing what the
tensors amount to is left to `families.lora_deltas`.
"""
