"""The article's figures, a module for each of its thoughts, and what several of them share: the article's own numbers,
panels and measurements that come again and again, the steps of the loop.
"""
