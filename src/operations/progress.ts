import {type GenericBar, Presets, SingleBar} from 'cli-progress'
import {isWatched} from './operator.ts'

/** A bar with rate and time left, on a terminal; nothing elsewhere. Positions stand for how far it is. */
export const openProgress = (name: string, until: bigint, from: bigint) => {
  if (!isWatched()) return {advance: () => {}, stop: () => {}}
  const began = Date.now()
  let events = 0
  const bar: GenericBar = new SingleBar(
    {
      format: `${name} {bar} {percentage}% | {events} events | {rate}/s | {eta_formatted} left`,
      stream: process.stderr,
      clearOnComplete: false,
    },
    Presets.shades_classic,
  )
  bar.start(Number(until - from), 0, {events: 0, rate: 0})
  return {
    advance: (count: number, position: bigint): void => {
      events += count
      const rate = Math.round((events * 1000) / Math.max(1, Date.now() - began))
      bar.update(Math.min(Number(position - from), Number(until - from)), {events, rate})
    },
    stop: (): void => bar.stop(),
  }
}
