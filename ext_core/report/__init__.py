"""One page about trainings: their curves, options, figures and pictures, read from what training leaves on the disk.

- reading: ``training_logs`` (text), ``experiment`` (everything of one folder), ``pictures`` (crops of saved images)
- comparing: ``groups`` (which curves are shown together), ``option_table``, ``summary``
- writing: ``page`` (HTML with ``page.html``, ``page.css``, ``curves.js``, ``compare.js``), ``plots`` (PNG)
"""
