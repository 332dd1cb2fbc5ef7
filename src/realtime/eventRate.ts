/** Enough to join every room that a socket may be in at once, twice. */
const BURST = 2_000
const A_SECOND = 200

/** One socket's allowance of events: `take` says whether one more is within it. */
export const openEventRate = (now: () => number = () => performance.now()): {take(): boolean} => {
  let left = BURST
  let at = now()
  return {
    take: () => {
      const time = now()
      left = Math.min(BURST, left + ((time - at) / 1_000) * A_SECOND)
      at = time
      if (left < 1) return false
      left--
      return true
    },
  }
}
