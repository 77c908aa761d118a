"""What an exported model of several tasks is asked."""

from kmmft.models.served_rows import ServedFunction


class MultiTaskServing:
    """Mixin for a model with `tasks`: all of them served by one export.

    Weights that tasks share are stored once.
    """

    def serving_functions(self, **options) -> dict[str, ServedFunction]:
        """What an exported model can be asked, by the name of the signature.

        Args:
            **options: As for the models of the tasks.

        Returns:
            dict of functions of raw inputs: `<task>` for what a task's model does by
            default, `<task>_<name>` for what else it does, and `serving_default` for
            the first task.
        """
        functions = {}
        for task, model in self.tasks.items():
            for name, function in model.serving_functions(**options).items():
                own = task if name == "serving_default" else f"{task}_{name}"
                functions[own] = function
        first = next(iter(self.tasks))
        return {"serving_default": functions[first], **functions}
