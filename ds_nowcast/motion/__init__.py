"""How rain moves: optical flow of the last frames, and images looked up at other places."""
