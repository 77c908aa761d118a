"""Settings, data, heads and variants of `recipes.visual_question_answering`."""
