"""Renderers of panels: text, SVG and JSON."""
