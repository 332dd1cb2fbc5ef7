/** The lines of UTF-8 text, broken at \n alone: node:readline breaks them at U+2028 too, which JSON may hold. */
export const linesIn = async function* (input: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const utf8 = new TextDecoder('utf-8', {fatal: true})
  let parts: Buffer[] = []
  for await (const chunk of input) {
    let from = 0
    for (let to = chunk.indexOf(10); to !== -1; to = chunk.indexOf(10, from)) {
      yield utf8.decode(Buffer.concat([...parts, chunk.subarray(from, to)]))
      parts = []
      from = to + 1
    }
    parts.push(chunk.subarray(from))
  }
  const last = utf8.decode(Buffer.concat(parts))
  if (last !== '') yield last
}
