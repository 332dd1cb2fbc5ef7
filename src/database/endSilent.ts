import type {Client, PoolClient} from 'pg'

/**
 * Ends a pool's connection whose server does not answer a query in time, which is `ms` or the query's own `query_timeout`;
 * what it still had to answer is rejected. pg's own timer for it keeps the rows that each query brought until an old
 * generation is collected: an eighth of what a page of posts costs the processor (measured).
 */
export const endSilent = (client: PoolClient, ms: number): void => {
  const query = client.query.bind(client) as (...args: unknown[]) => unknown
  const timed = (...args: unknown[]): unknown => {
    const {query_timeout: own} = Object(args[0]) as {query_timeout?: number}
    const timer = setTimeout(() => void (client as unknown as Client).end().catch(() => {}), own ?? ms)
    const callback = args.at(-1)
    if (typeof callback === 'function')
      return query(...args.slice(0, -1), (...answer: unknown[]) => {
        clearTimeout(timer)
        callback(...answer)
      })
    const answer = query(...args)
    if (answer instanceof Promise) return answer.finally(() => clearTimeout(timer))
    // A stream takes as long as whoever reads it.
    clearTimeout(timer)
    return answer
  }
  client.query = timed as typeof client.query
}
