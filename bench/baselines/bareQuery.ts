import {type Express, json, type Request} from 'express'
import {Pool} from 'pg'
import {cookieFlags} from '../../src/edge/cookies.ts'
import {roomBody} from '../../src/edge/roomBody.ts'
import {openSessions} from '../../src/edge/sessions.ts'
import {etagOf} from '../../src/http/etag.ts'
import {listMessages} from '../../src/projections/messages.ts'
import {listRoomsOf} from '../../src/projections/rooms.ts'
import {listen, optionsOf, withMiddleware} from './middleware.ts'

/** Answers from the one query that they need, of the same tables. */
const {port, databaseUrl, secret} = optionsOf<{databaseUrl: string; secret: string}>()
const pool = new Pool({connectionString: databaseUrl, max: 20})
const app: Express = withMiddleware(`http://127.0.0.1:${port}`)
const baseUrl = `http://127.0.0.1:${port}`
const {load} = openSessions({pool, secret, cookie: cookieFlags({baseUrl, corsOrigins: []})})
const userIdIn = (req: Request) => req.session.userId!

app.get('/api/posts', async (req, res) => {
  const limit = Number(req.query.limit)
  const {rows} = await pool.query({
    name: 'posts',
    text: `SELECT id, author_id, author_name, title, body, attachments, created_at, position FROM read.posts_v1
           WHERE position < $1 ORDER BY position DESC LIMIT $2`,
    values: [req.query.cursor, limit + 1],
  })
  const shown = rows.slice(0, limit)
  const json = JSON.stringify(
    shown.map(({position: _, created_at, ...post}) => ({...post, created_at: created_at.toISOString()})),
  )
  const headers: Record<string, string> = {'Cache-Control': 'no-cache'}
  if (rows.length > limit) headers.Link = `</api/posts?limit=${limit}&cursor=${shown.at(-1).position}>; rel="next"`
  res.set({...headers, ETag: etagOf(json, headers.Link ?? '')})
  res.type('json').send(json)
})

app.get('/api/rooms', load, async (req, res) => {
  const rooms = await listRoomsOf(pool, userIdIn(req), {before: null, limit: 501})
  res.set('Cache-Control', 'private, no-cache')
  res
    .type('json')
    .send(JSON.stringify({ok: true, rooms: rooms.map((room) => roomBody(room, () => -1)), invitations: []}))
})

app.get('/api/rooms/:roomId/messages', load, async (req, res) => {
  if (!userIdIn(req)) return void res.status(401).end()
  const messages = await listMessages(pool, req.params.roomId as string, {limit: 50})
  res.set('Cache-Control', 'private, no-cache')
  res.type('json').send(JSON.stringify({ok: true, messages}))
})

/** One durable INSERT. */
await pool.query(
  'CREATE TABLE IF NOT EXISTS public.bare_posts (id uuid PRIMARY KEY, author_id text, title text, body text, created_at timestamptz)',
)
app.post('/api/posts', load, json(), async (req, res) => {
  const {title, body} = req.body
  const {rows} = await pool.query({
    name: 'insert',
    text: 'INSERT INTO public.bare_posts VALUES (gen_random_uuid(), $1, $2, $3, now()) RETURNING id, created_at',
    values: [userIdIn(req), title, body],
  })
  const {id, created_at} = rows[0]
  const post = {
    id,
    author_id: userIdIn(req),
    author_name: 'Person',
    title,
    body,
    attachments: [],
    created_at: created_at.toISOString(),
  }
  res.set({'Cache-Control': 'private, no-cache', 'X-Log-Position': '1'})
  res.type('json').send(JSON.stringify({ok: true, post}))
})
listen(app, port)
