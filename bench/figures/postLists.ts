import {answerOf, assertSame} from '../answers.ts'
import {type Bench, compareWork, type Figure, type Row} from '../harness.ts'
import {load} from '../load.ts'
import type {Running} from '../place.ts'
import {postsDatabase} from './postPages.ts'

const LEAVES_OUT =
  'TLS, a network, clients that already have the list (304), and what an answer costs that nobody asked for since the last change (one reading of the table).'

const list = async (bench: Bench, count: number): Promise<Row[]> => {
  const {place, quick} = bench
  const databaseUrl = await postsDatabase(bench, count, 200)
  const ours = await place.server({databaseUrl})
  const answers = [await answerOf(ours.url, '/api/posts')]
  const same = await place.baseline('fixedAnswers.ts', {middleware: true, answers})
  const none = await place.baseline('fixedAnswers.ts', {middleware: false, answers})
  await assertSame(ours.url, same.url, '/api/posts')
  const side = (running: Running) => (rate?: number) =>
    load(running, {seconds: quick ? 1 : 2, rate, requests: [{path: '/api/posts'}]})
  const rows = await compareWork(
    bench,
    {
      figure: `GET /api/posts, ${count.toLocaleString('en')} posts, 100 connections`,
      of: 'requests',
      leavesOut: LEAVES_OUT,
    },
    side(ours),
    [
      {
        against: 'Express with the same middleware and headers, the same bytes from memory',
        side: side(same),
        atLeast: 0.9,
      },
      {against: 'Express with none, the same bytes from memory', side: side(none), shownOnly: true},
    ],
  )
  await place.endProcesses()
  return rows
}

export const postLists: Figure = {
  name: 'post-lists',
  measure: async (bench) => [...(await list(bench, 20)), ...(bench.quick ? [] : await list(bench, 2_000))],
}
