"""The language of ini files, as uWSGI has it: lines, variables, conditions, loops and includes."""
