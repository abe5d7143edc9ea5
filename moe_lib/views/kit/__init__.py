"""What all widgets share: scripts and styles, the palette, the display for readers without a
kernel."""
