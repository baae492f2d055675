#!/usr/bin/env python3
"""Writes the numbered .sql files of both backends as C string tables: embed.py OUT FILE..."""

import os
import sys


def main():
    out, files = sys.argv[1], sys.argv[2:]
    with open(out, "w") as c:
        c.write('#include "core/directory/schema.h"\n\n#include <stddef.h>\n')
        for backend in ("postgres", "sqlite"):
            c.write(f"\nconst struct migration migrations_{backend}[] = {{\n")
            of_backend = [f for f in files if os.path.basename(os.path.dirname(f)) == backend]
            for path in sorted(of_backend, key=os.path.basename):
                name = os.path.basename(path)
                c.write(f'\t{{ {int(name[:3])}, "{name}",\n')
                for line in open(path):
                    text = line.rstrip("\n").replace("\\", "\\\\").replace('"', '\\"')
                    c.write(f'\t\t"{text}\\n"\n')
                c.write("\t},\n")
            c.write("\t{ 0, NULL, NULL },\n};\n")


main()
