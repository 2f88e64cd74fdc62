"""Blurry clips with exact motion, made from photographs."""
