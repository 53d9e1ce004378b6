"""Write down what `yolo-attn blocks` shows of the shipped blocks: ``python tools/make_block_table.py``."""

from yolo_attn.models.block_facts import write_facts

if __name__ == "__main__":
    print(write_facts())
