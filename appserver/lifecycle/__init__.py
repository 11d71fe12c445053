"""The life of the processes: started, reloaded, told apart, watched over and ended."""
