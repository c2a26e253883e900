"""What every verb shares: how the console prints, counts and writes how long something takes."""
