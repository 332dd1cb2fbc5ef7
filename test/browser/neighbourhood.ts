import sharp from 'sharp'
import {BOT_TOKEN, type Person, signUp, type TestServer, visit} from '../support/server.ts'

/** A small community with something to look at on every page. */
export const neighbourhood = async (server: TestServer) => {
  const ann = await signUp(server, {username: 'Ann Hollis', email: 'ann@example.com'})
  const bob = await signUp(server, {username: 'Bob', email: 'bob@example.com'})
  const mira = await signUp(server, {username: 'Mira Okafor', email: 'mira@example.com'})

  const write = async (who: Person, title: string, body: string, attachments: string[] = []) => {
    const answer = await who.post('/api/posts', {title, body, attachments})
    if (answer.status !== 200) throw new Error(`post: ${answer.text}`)
    return answer.body.post.id as string
  }
  await write(bob, 'Welcome, and what this place is for', 'Introduce yourself in the Lobby if you like. No hurry.')
  await write(
    mira,
    'Notes from the repair café',
    'Eleven things came in and nine left working. The toaster was beyond us.\n\nNext time: 12 December, same place. Bring what is broken, and a screwdriver if you have one. The list of what we fixed is at https://example.org/repairs/november.',
    ['https://example.org/repairs/november'],
  )
  const images = [await uploadImage(server, ann, 'hills'), await uploadImage(server, ann, 'lake')]
  await write(
    ann,
    'Two mornings above the reservoir',
    'The fog came in at about six and stayed until nine. Taken with the old lens that Bob lent me; it is softer at the edges than I remembered, and I like it.',
    images,
  )
  const newest = await write(
    mira,
    'Does anybody have a spare shelf?',
    'About 80 cm wide, any colour. I can fetch it by bike.',
  )

  const makeRoom = async (who: Person, name: string, visibility: string) =>
    (await who.post('/api/rooms', {name, visibility})).body.room.id as string
  const lobby = await makeRoom(bob, 'Lobby', 'open')
  const repair = await makeRoom(mira, 'Repair café', 'invite')
  const walks = await makeRoom(ann, 'Sunday walks', 'invite')
  const books = await makeRoom(mira, 'Book swap', 'invite')
  await makeRoom(bob, 'Bread and other experiments', 'open')
  await makeRoom(mira, 'Small engines', 'open')
  for (const who of [ann, mira]) await who.post(`/api/rooms/${lobby}/join`)
  await mira.post(`/api/rooms/${repair}/invite`, {userId: ann.email})
  await ann.post(`/api/rooms/${repair}/join`)
  await ann.post(`/api/rooms/${walks}/invite`, {userId: bob.email})
  await bob.post(`/api/rooms/${walks}/join`)
  await mira.post(`/api/rooms/${books}/invite`, {userId: ann.email})

  const say = async (who: Person, room: string, ...lines: string[]) => {
    for (const content of lines) await who.post(`/api/rooms/${room}/messages`, {content})
  }
  const bot = async (room: string, content: string) => {
    const headers = {authorization: `Bearer ${BOT_TOKEN}`, 'x-bot-id': 'weather', 'x-bot-name': 'Weather'}
    await visit(server.url).post(`/api/rooms/${room}/join`, undefined, headers)
    await visit(server.url).post(`/api/rooms/${room}/messages`, {content}, headers)
  }
  await say(mira, repair, 'The hall is ours until six on the 12th.', 'I have the key.')
  await say(ann, repair, 'Lovely. I can bring the soldering iron.')
  await say(mira, repair, 'Please do!')
  await say(bob, lobby, 'Morning everyone', 'The new notice board is up in the hallway, have a look when you pass.')
  await say(mira, lobby, 'Looks good. Who made the lettering?')
  await say(ann, lobby, 'That was me, with a lot of masking tape.')
  await bot(lobby, 'Tomorrow: dry until noon, then light rain. 6 to 11 °C.')
  await say(bob, lobby, 'Then we walk early. Route as in https://example.org/walks/reservoir (the shorter one).')
  await say(ann, walks, 'Nine at the gate?')
  await say(bob, walks, 'Nine it is. I bring tea.')
  return {ann, bob, mira, lobby, repair, walks, newest}
}

const PICTURES = {
  hills: `<svg xmlns="http://www.w3.org/2000/svg" width="960" height="720"><defs><linearGradient id="s" x2="0" y2="1"><stop stop-color="#f3d9b8"/><stop offset="1" stop-color="#e8eef0"/></linearGradient></defs><rect width="960" height="720" fill="url(#s)"/><circle cx="690" cy="200" r="58" fill="#fff3d6"/><path d="M0 420Q200 300 420 400T960 330V720H0z" fill="#9db7b3"/><path d="M0 520Q260 380 520 500T960 450V720H0z" fill="#5f8a83"/><path d="M0 620Q300 520 600 610T960 580V720H0z" fill="#2f5d57"/></svg>`,
  lake: `<svg xmlns="http://www.w3.org/2000/svg" width="960" height="720"><rect width="960" height="720" fill="#cfdde2"/><path d="M0 330L180 220 330 320 520 180 700 310 960 230V400H0z" fill="#8aa3ad"/><rect y="390" width="960" height="330" fill="#b6ccd3"/><path d="M120 470h260M420 520h330M200 600h420" stroke="#dfe9ec" stroke-width="10" stroke-linecap="round"/></svg>`,
}

const uploadImage = async (server: TestServer, who: Person, name: keyof typeof PICTURES): Promise<string> => {
  const jpeg = await sharp(Buffer.from(PICTURES[name])).jpeg().toBuffer()
  const form = new FormData()
  form.append('file', new Blob([new Uint8Array(jpeg)], {type: 'image/jpeg'}), `${name}.jpg`)
  const cookie = [...who.cookies].map(([key, value]) => `${key}=${value}`).join('; ')
  const answer = await fetch(`${server.url}/api/upload`, {method: 'POST', body: form, headers: {cookie}})
  if (answer.status !== 200) throw new Error(`upload: ${await answer.text()}`)
  return ((await answer.json()) as {url: string}).url
}
