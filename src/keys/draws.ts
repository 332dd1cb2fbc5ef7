import {randomFillSync} from 'node:crypto'

/** Drawn at once: each call of the system's generator costs more than what it gives. */
const AT_ONCE = 256

/** Gives `size` random bytes each time. They are to be used at once: they are overwritten when all are used. */
export const drawsOf = (size: number): (() => Buffer) => {
  const drawn = Buffer.allocUnsafe(AT_ONCE * size)
  let used = drawn.length
  return () => {
    if (used === drawn.length) {
      randomFillSync(drawn)
      used = 0
    }
    used += size
    return drawn.subarray(used - size, used)
  }
}
