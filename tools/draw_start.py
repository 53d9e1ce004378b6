"""Draw the first picture of the README and the site: ``python tools/draw_start.py`` writes docs/pictures/start.png."""

from instruments.start_picture import main

if __name__ == "__main__":
    main()
