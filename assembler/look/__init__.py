"""Look: a checkpoint on one page of HTML, its facts, the drawing, and what gathers them."""
