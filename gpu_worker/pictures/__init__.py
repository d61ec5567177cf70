"""From pixels to the bytes that are stored: PNG, WebP, previews, and the recipe."""
