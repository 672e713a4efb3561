"""What operators see of a running daemon: metrics, health, announcements of new blocks."""
