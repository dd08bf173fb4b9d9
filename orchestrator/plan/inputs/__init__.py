"""What a step reads beside its task: names of files, modules, variables, and what they hold now."""
