// Two versions of one image with a divider between them, which is a slider of the browser's own: mouse, touch, keys.
'use strict';
{
  const pictures = JSON.parse(document.getElementById('data').textContent).pictures;
  for (const figure of document.querySelectorAll('.compare')) {
    const crops = pictures[figure.dataset.picture];
    const pair = figure.querySelector('.pair');
    const divider = pair.querySelector('input');
    const move = () => {
      pair.style.setProperty('--at', `${divider.value}%`);
      divider.setAttribute('aria-valuetext', `${divider.value} percent from the left`);
    };
    for (const side of ['left', 'right']) {
      const choice = figure.querySelector(`select.${side}`);
      const image = pair.querySelector(`img.${side}`);
      const show = () => {
        image.src = crops[choice.value];
        image.alt = choice.selectedOptions[0].text;
      };
      choice.addEventListener('change', show);
      show();
    }
    divider.addEventListener('input', move);
    move();
  }
}
