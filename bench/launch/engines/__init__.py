"""Where cells are computed: processes of this machine, or whatever else can call `attempt_cell`."""
