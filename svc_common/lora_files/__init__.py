"""Files of LoRAs as people publish them: what kinds of change they hold, and which layers of a model they are for.

Knows shapes and names only, and no torch, so that an operator's push and svc_models read a file as a worker will. Computing
what the tensors amount to is left to `gpu_worker.render.families.lora_deltas`.
"""
