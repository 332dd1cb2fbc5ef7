import {answerOf} from '../answers.ts'
import {type Bench, compareWork, type Figure, type Row} from '../harness.ts'
import {load} from '../load.ts'
import {type Place, type Running, SECRETS} from '../place.ts'
import {fillWorld, people, postsBy, register, signIn, textOf} from '../world.ts'

const PEOPLE = 16

/** A database of its own for each run, because posts are added: with the cookies of 16 people. */
const writersDatabase = async (place: Place, posts: number): Promise<{databaseUrl: string; cookies: string[]}> => {
  const by = people(PEOPLE)
  const databaseUrl = await place.freshDatabase((url) =>
    fillWorld(url, async (world) => {
      const {append} = world
      await register(world, by)
      await append(postsBy(by, posts))
    }),
  )
  return {databaseUrl, cookies: await signIn(databaseUrl, by)}
}

const writes = (cookies: string[]) =>
  cookies.map((cookie, n) => ({
    method: 'POST' as const,
    path: '/api/posts',
    headers: {cookie, 'content-type': 'application/json'},
    body: JSON.stringify({title: `Post number ${n}`, body: textOf(200)}),
  }))

export const postCreation: Figure = {
  name: 'post-creation',
  measure: async (bench) => {
    const {place, quick} = bench
    const {databaseUrl, cookies} = await writersDatabase(place, 20)
    const ours = await place.server({databaseUrl})
    const same = await place.baseline('bareQuery.ts', {databaseUrl, secret: SECRETS.SESSION_SECRET})
    const side = (running: Running) => (rate?: number) =>
      load(running, {seconds: quick ? 1 : 3, connections: PEOPLE, rate, requests: writes(cookies)})
    const leavesOut =
      'TLS, a network, attachments. Ours is answered when the log and the read table hold it, sealed under its author’s key; the baseline when its one table does.'
    return compareWork(
      bench,
      {figure: `POST /api/posts, ${PEOPLE} people at once, durable`, of: 'posts', leavesOut},
      side(ours),
      [
        {
          against: 'Express with the same middleware and headers + pg, one durable INSERT a request',
          side: side(same),
          atLeast: 0.9,
        },
      ],
    )
  },
}

/** Somebody writes so many posts a second until told to stop. */
const writing = (running: Running, cookies: string[], perSecond: number): (() => Promise<void>) => {
  const requests = writes(cookies)
  const under = new Set<Promise<unknown>>()
  let failed: unknown = null
  let n = 0
  const timer = setInterval(() => {
    const {path, ...request} = requests[n++ % requests.length]!
    const one: Promise<unknown> = fetch(`${running.url}${path}`, request)
      .then(async (response) => {
        if (response.status !== 200) throw new Error(`a post was refused: ${await response.text()}`)
        await response.arrayBuffer()
      })
      .catch((error: unknown) => {
        failed = error
      })
      .finally(() => under.delete(one))
    under.add(one)
  }, 1_000 / perSecond)
  return async () => {
    clearInterval(timer)
    await Promise.all(under)
    if (failed) throw failed
  }
}

const list = async (bench: Bench, count: number): Promise<Row[]> => {
  const {place, quick} = bench
  // One more than is shown, so that both say from the beginning that there are more, and the list does not grow.
  const {databaseUrl, cookies} = await writersDatabase(place, count + 1)
  const ours = await place.server({databaseUrl, env: {POSTS_UNPAGED_MAX: String(count)}})
  const same = await place.baseline('fixedAnswers.ts', {
    middleware: true,
    answers: [await answerOf(ours.url, '/api/posts')],
  })
  const listed = (running: Running) => (rate?: number) =>
    load(running, {seconds: quick ? 1 : 2, rate, requests: [{path: '/api/posts'}]})
  const rows = await compareWork(
    bench,
    {
      figure: `GET /api/posts, ${count.toLocaleString('en')} posts, while 20 posts/s are created`,
      of: 'requests',
      leavesOut:
        'TLS, a network, clients that already have the list (304). The list is the newest posts, always as many (POSTS_UNPAGED_MAX).',
    },
    async (rate) => {
      const stop = writing(ours, cookies, 20)
      try {
        return await listed(ours)(rate)
      } finally {
        await stop()
      }
    },
    [
      {
        against:
          'Express with the same middleware and headers, the bytes of before from memory, and nothing is created',
        side: listed(same),
        atLeast: 0.8,
      },
    ],
  )
  await place.endProcesses()
  return rows
}

export const postListsWritten: Figure = {
  name: 'post-lists-written',
  measure: async (bench) => [...(await list(bench, 20)), ...(bench.quick ? [] : await list(bench, 2_000))],
}
