import {type Express, json, type Request} from 'express'
import {Pool} from 'pg'
import {cookieFlags} from '../../src/edge/cookies.ts'
import {openSessions} from '../../src/edge/sessions.ts'
import {etagOf} from '../../src/http/etag.ts'
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
  const {rows} = await pool.query({
    name: 'rooms',
    text: `SELECT r.room_id AS id, r.name, r.visibility, r.created_by AS "createdBy", r.created_at AS "createdAt",
             r.member_count AS "memberCount", r.last_seq AS "lastSeq", json_build_object(
               'id', l.id, 'roomId', l.room_id, 'userId', l.user_id, 'username', l.username, 'content', l.content,
               'createdAt', to_char(l.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'isBot', l.is_bot, 'seq', l.seq
             ) AS "lastMessage", -1 AS "readSeq"
           FROM read.room_members_v1 m JOIN read.rooms_v1 r ON r.room_id = m.room_id
           LEFT JOIN LATERAL (SELECT * FROM read.messages_v1 n WHERE n.room_id = r.room_id AND n.seq = r.last_seq LIMIT 1) l ON true
           WHERE m.user_id = $1 ORDER BY r.position DESC LIMIT 500`,
    values: [userIdIn(req)],
  })
  res.set('Cache-Control', 'private, no-cache')
  res.type('json').send(JSON.stringify({ok: true, rooms: rows, invitations: []}))
})

app.get('/api/rooms/:roomId/messages', load, async (req, res) => {
  if (!userIdIn(req)) return void res.status(401).end()
  const {rows} = await pool.query({
    name: 'messages',
    text: `SELECT id, room_id AS "roomId", user_id AS "userId", username, content, created_at AS "createdAt", is_bot AS "isBot", seq
           FROM read.messages_v1 WHERE room_id = $1 ORDER BY seq DESC LIMIT 50`,
    values: [req.params.roomId],
  })
  res.set('Cache-Control', 'private, no-cache')
  res.type('json').send(JSON.stringify({ok: true, messages: rows.reverse()}))
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
