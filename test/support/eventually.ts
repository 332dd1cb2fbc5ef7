import {setTimeout as pause} from 'node:timers/promises'

/** Waits until `look` gives something that is neither null, undefined nor false, and gives that; throws after `ms`. */
export const eventually = async <T>(
  look: () => T | Promise<T>,
  {ms = 10_000, what = 'the condition'}: {ms?: number; what?: string} = {},
): Promise<NonNullable<T>> => {
  const until = Date.now() + ms
  for (;;) {
    const found = await look()
    if (found !== null && found !== undefined && found !== false) return found
    if (Date.now() > until) throw new Error(`waited ${ms} ms for ${what}`)
    await pause(10)
  }
}
