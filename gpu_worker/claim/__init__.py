"""How a worker gets jobs from the queue and keeps its hold on them while it works."""
