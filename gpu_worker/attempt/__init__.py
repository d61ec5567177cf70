"""One attempt at a job, from its specification to its report: fetching, rendering in a thread, delivering."""
