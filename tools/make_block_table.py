"""Write the stored facts that `yolo-attn blocks` shows: ``python tools/make_block_table.py``."""

from instruments.block_facts import write_facts

if __name__ == "__main__":
    print(write_facts())
