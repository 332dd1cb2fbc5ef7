import autocannon from 'autocannon'
import type {Running} from './place.ts'

/** `busy`: the share of the time in which the process used its core; at 1 it is the limit. */
export type Load = {perSecond: number; cpuMicros: number; busy: number; p50: number; p99: number}

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
  const before = await running.cpuMs()
  const began = performance.now()
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
  const wallMs = performance.now() - began
  const cpuMs = (await running.cpuMs()) - before
  if (result.errors > 0 || result.non2xx > 0) {
    const statuses = JSON.stringify((result as unknown as {statusCodeStats: object}).statusCodeStats)
    throw new Error(`${result.errors} requests failed, ${result.non2xx} were refused: ${statuses}`)
  }
  times.sort((a, b) => a - b)
  return {
    perSecond: (times.length / wallMs) * 1000,
    cpuMicros: (cpuMs * 1000) / times.length,
    busy: cpuMs / wallMs,
    p50: times[Math.floor(times.length * 0.5)] ?? Number.NaN,
    p99: times[Math.floor(times.length * 0.99)] ?? Number.NaN,
  }
}

/** Where the server is not the limit, what can be compared is what a request costs it. */
export const rates = (samples: Record<string, Load[]>): {unit: string; of: (side: Load[]) => number[]} => {
  const isLimit = Object.values(samples).every((side) => side.every(({busy}) => busy > 0.9))
  return isLimit
    ? {unit: 'requests/s', of: (side) => side.map(({perSecond}) => perSecond)}
    : {unit: 'requests per CPU second of the server', of: (side) => side.map(({cpuMicros}) => 1e6 / cpuMicros)}
}
