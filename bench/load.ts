import autocannon from 'autocannon'
import {beginWork, type Work} from './harness.ts'
import type {Running} from './place.ts'

export type Load = Work & {p50: number; p99: number}

type Request = NonNullable<autocannon.Options['requests']>[number]

/** Requests as fast as they are answered, or `rate` a second, by so many connections; each must be answered with 200. */
export const load = async (
  running: Running,
  {
    connections = 100,
    seconds,
    rate,
    requests,
  }: {connections?: number; seconds: number; rate?: number; requests: Request[]},
): Promise<Load> => {
  const working = await beginWork(running)
  const times: number[] = []
  const result = await new Promise<autocannon.Result>((resolve, reject) => {
    const instance = autocannon(
      {
        url: running.url,
        connections,
        duration: seconds,
        requests,
        ...(rate === undefined ? {} : {overallRate: rate}),
      },
      (error, done) => (error ? reject(error) : resolve(done)),
    )
    instance.on('response', (_client, _status, _bytes, ms) => times.push(ms))
  })
  const worked = await working(times.length)
  if (result.errors > 0 || result.non2xx > 0) {
    const statuses = JSON.stringify((result as unknown as {statusCodeStats: object}).statusCodeStats)
    throw new Error(`${result.errors} requests failed, ${result.non2xx} were refused: ${statuses}`)
  }
  times.sort((a, b) => a - b)
  return {
    ...worked,
    p50: times[Math.floor(times.length * 0.5)] ?? Number.NaN,
    p99: times[Math.floor(times.length * 0.99)] ?? Number.NaN,
  }
}
