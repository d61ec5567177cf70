"""How `pingvas-tiny` came to be: its drawings, captions, training, evaluation and export. Nothing imports this room."""
