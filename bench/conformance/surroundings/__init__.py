"""What lies around a method: the suite's code, torch's, the machine; noted before and after, and watched."""
