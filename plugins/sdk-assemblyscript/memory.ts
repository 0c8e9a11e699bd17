// What goes over the border: texts and answers in memory that the collector does not see, until the router has read them.

const blocks: usize[] = [];

/** Memory until the call is over, all zero. */
export function alloc(size: usize): usize {
  const block = heap.alloc(size == 0 ? 1 : size);
  memory.fill(block, 0, size);
  blocks.push(block);
  return block;
}

let calls = 0;

/** The call is over: what it allocated is free again, and now and then there is garbage to collect. */
export function release(): void {
  for (let i = 0; i < blocks.length; i++) heap.free(blocks[i]);
  blocks.length = 0;
  if (++calls % 64 == 0) __collect();
}

/** A text that the router handed over. */
export function read(at: usize): string {
  return String.UTF8.decodeUnsafe(load<u32>(at), load<u32>(at, 4));
}

/** Writes where a text stands, and how long it is. */
export function write(at: usize, text: string): void {
  const size = <usize>String.UTF8.byteLength(text);
  const memory = alloc(size);
  String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, memory);
  store<u32>(at, <u32>memory);
  store<u32>(at, <u32>size, 4);
}

/** Writes a text, or that there is none. */
export function writeOptional(at: usize, text: string | null): void {
  if (text === null) return;
  store<u8>(at, 1);
  write(at + 4, text);
}

/** Writes a list of texts. */
export function writeAll(at: usize, texts: string[]): void {
  const list = alloc(8 * texts.length);
  for (let i = 0; i < texts.length; i++) write(list + 8 * i, texts[i]);
  store<u32>(at, <u32>list);
  store<u32>(at, <u32>texts.length, 4);
}
