"""What svc_gallery does that is longer than one call: making exports."""
