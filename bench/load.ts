import {setTimeout as pause} from 'node:timers/promises'
import autocannon from 'autocannon'
import {beginWork, type Work} from './harness.ts'
import type {Running} from './place.ts'

export type Load = Work & {p50: number; p99: number}

type Request = NonNullable<autocannon.Options['requests']>[number]

/** Requests as fast as they are answered, or `rate` a second, by so many connections; each must be answered with 200. */
export const load = async (
  {url, ...running}: Running,
  {
    connections = 100,
    seconds,
    rate,
    requests,
  }: {connections?: number; seconds: number; rate?: number | undefined; requests: Request[]},
): Promise<Load> => {
  const times: number[] = []
  const run = (options: Partial<autocannon.Options>) =>
    new Promise<autocannon.Result>((resolve, reject) => {
      const instance = autocannon({url, duration: seconds, requests, ...options}, (error, result) =>
        error ? reject(error) : resolve(result),
      )
      instance.on('response', (_client, _status, _bytes, ms) => times.push(ms))
    })
  /** autocannon sends what it may in a second at the second's beginning: so each connection has a beginning of its own. */
  const spread = (perSecond: number) => {
    const count = Math.min(connections, Math.floor(perSecond))
    return Array.from({length: count}, async (_, n) => {
      await pause((n * 1_000) / count)
      return run({connections: 1, overallRate: Math.round(perSecond / count)})
    })
  }
  const working = await beginWork(running)
  const results = await Promise.all(rate === undefined ? [run({connections})] : spread(rate))
  const worked = await working(times.length)
  for (const {errors, non2xx, ...result} of results) {
    if (errors === 0 && non2xx === 0) continue
    const statuses = JSON.stringify((result as unknown as {statusCodeStats: object}).statusCodeStats)
    throw new Error(`${errors} requests failed, ${non2xx} were refused: ${statuses}`)
  }
  times.sort((a, b) => a - b)
  return {
    ...worked,
    p50: times[Math.floor(times.length * 0.5)] ?? Number.NaN,
    p99: times[Math.floor(times.length * 0.99)] ?? Number.NaN,
  }
}
